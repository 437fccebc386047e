# The public names of `internvideo.data`: read by type checkers, and at run time by lazy_loader.

from .build import ListKind as ListKind
from .build import detect_kind as detect_kind
from .build import open_list as open_list
from .build import read_list as read_list
from .build import read_multiple_choice as read_multiple_choice
from .check import CheckReport as CheckReport
from .check import check_list as check_list
from .clip_list import ClipEntry as ClipEntry
from .clip_list import ClipList as ClipList
from .clip_sampling import ClipSampling as ClipSampling
from .clips import VideoListSource as VideoListSource
from .config import CaptionColumns as CaptionColumns
from .mix import MixSource as MixSource
from .samples import ClipSource as ClipSource
from .samples import ClipViews as ClipViews
from .samples import EvaluationSource as EvaluationSource
from .samples import Sample as Sample
from .shard_writing import write_shards as write_shards
from .shards import ShardSource as ShardSource
from .shards import open_shards as open_shards
from .world import WorldSource as WorldSource
from .writing import WrittenWorld as WrittenWorld
from .writing import write_world as write_world
