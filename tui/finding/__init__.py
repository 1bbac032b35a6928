"""Getting from one thing to another: the palette that finds anything, what depends on an object, its owner, its tree."""
