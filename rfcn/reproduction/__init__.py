"""The paper's tables as recipes: run the rows at the size one can afford, print both figures."""
