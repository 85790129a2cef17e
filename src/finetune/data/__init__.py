"""From files to token ids: where rows lie, what they mean, how a model sees them."""
