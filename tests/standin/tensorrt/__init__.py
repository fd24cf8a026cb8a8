"""A TEST DOUBLE of NVIDIA's Python package ``tensorrt``: as much of its API as edgekit uses, none of its abilities.

``_build`` doubles the builder, ``_run`` the runtime. An "engine" is a header and the ONNX file itself.
"""

from ._build import *
from ._build import VERSION
from ._run import *

__version__ = VERSION
