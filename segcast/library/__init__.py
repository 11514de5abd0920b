"""Segcast from Python: the verbs and nouns that `import segcast` offers, of which the command line is made too."""
