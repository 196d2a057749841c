"""`codeparrot eval retrieval`: search as a measure of a model. It lies here, since an evaluation imports no search."""
