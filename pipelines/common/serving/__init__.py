"""Writing and using exports. Imports no training code."""
