"""Deep learning in notebooks: the package, its documentation, its tests and a course from one source"""

from importlib.metadata import version

__version__ = version('mylib')
