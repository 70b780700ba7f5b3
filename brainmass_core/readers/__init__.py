"""Everything that a user wrote is read here: one reader per form, used by every stage."""
