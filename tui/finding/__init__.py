"""Getting from one thing to another: what finds anything, what depends on an object, its owner, its tree."""
