"""What all estimators share: the one ``fit``, validation, several starts, mixins."""
