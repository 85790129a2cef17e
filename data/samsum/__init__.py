"""Parts of the maker of the messenger-chat samples: script reader, phrases, styles, composer, pairs, measures."""
