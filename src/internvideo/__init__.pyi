# The public names of `internvideo`: read by type checkers, and at run time by lazy_loader.

from .errors import InternVideoError as InternVideoError
from .evaluation.classification import Classification as Classification
from .evaluation.data import AnnotatedData as AnnotatedData
from .pipeline import VideoModel as VideoModel
from .pipeline import evaluate as evaluate
from .pipeline import load as load
from .recipe import list_recipes as list_recipes
from .recipe import load_recipe as load_recipe
from .recipe.run import run_recipe as run_recipe
from .search.library import Library as Library
from .search.library import open_library as open_library
from .tasks.captioning.predict import CaptionStyle as CaptionStyle
from .video import Preprocessing as Preprocessing
from .video import Video as Video
from .video import find_videos as find_videos
from .video import write_video as write_video
from .world import World as World
from .zoo import find_card as find_card
from .zoo import list_models as list_models
from .zoo import verify as verify

__version__: str
