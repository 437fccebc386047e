# The public names of `internvideo.zoo`: read by type checkers, and at run time by lazy_loader.

from .card import Card as Card
from .checkpoint import read_checkpoint as read_checkpoint
from .hub import LoadedModel as LoadedModel
from .hub import Record as Record
from .hub import save_pretrained as save_pretrained
from .hub import weights_sha256 as weights_sha256
from .labels import detect_order as detect_order
from .labels import index_map as index_map
from .labels import k710_rows as k710_rows
from .labels import label_names as label_names
from .load import load_model as load_model
from .load import official_state as official_state
from .load import reorder_outputs as reorder_outputs
from .registry import bibtex as bibtex
from .registry import families as families
from .registry import find_card as find_card
from .registry import find_cards as find_cards
from .registry import list_models as list_models
from .starts import average_with_start as average_with_start
from .starts import load_clip_teacher as load_clip_teacher
from .starts import load_multimodal_start as load_multimodal_start
from .starts import load_text_start as load_text_start
from .starts import load_towers as load_towers
from .transfer import load_encoder_weights as load_encoder_weights
from .verification import Verification as Verification
from .verification import verify as verify
