# The public names of `internvideo.data`: read by type checkers, and at run time by lazy_loader.

from .build import open_list as open_list
from .build import read_list as read_list
from .check import CheckReport as CheckReport
from .check import check_list as check_list
from .clip_list import ClipEntry as ClipEntry
from .clip_list import ClipList as ClipList
from .clip_sampling import ClipSampling as ClipSampling
from .clips import ClipViews as ClipViews
from .clips import VideoListSource as VideoListSource
from .detect import detect_kind as detect_kind
from .formats.captions import CaptionColumns as CaptionColumns
from .formats.videochat import Conversation as Conversation
from .formats.videochat import Turn as Turn
from .formats.videochat import conversation_text as conversation_text
from .formats.videochat import read_conversations as read_conversations
from .kinds import ListKind as ListKind
from .mix import MixSource as MixSource
from .samples import ClipSource as ClipSource
from .samples import EvaluationSource as EvaluationSource
from .samples import Sample as Sample
from .shard_writing import write_shards as write_shards
from .shards import ShardSource as ShardSource
from .shards import open_shards as open_shards
from .world import WorldSource as WorldSource
