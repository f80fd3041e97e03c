"""The methods, one file a method or a family of siblings."""
