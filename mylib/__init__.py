"""Deep learning in notebooks: the package, its documentation, its tests and a course from one source"""
