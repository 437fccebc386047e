# The public names of `internvideo.zoo`: read by type checkers, and at run time by lazy_loader.

from .card import Card as Card
from .checkpoint import read_checkpoint as read_checkpoint
from .hub import Pretrained as Pretrained
from .hub import Record as Record
from .hub import save_pretrained as save_pretrained
from .labels import detect_order as detect_order
from .labels import index_map as index_map
from .labels import k710_rows as k710_rows
from .labels import label_names as label_names
from .load import LoadedModel as LoadedModel
from .load import load_encoder_weights as load_encoder_weights
from .load import load_model as load_model
from .load import official_state as official_state
from .load import reorder_outputs as reorder_outputs
from .registry import bibtex as bibtex
from .registry import families as families
from .registry import find_card as find_card
from .registry import list_models as list_models
from .teachers import load_clip_teacher as load_clip_teacher
from .verification import Verification as Verification
from .verification import verify as verify
