"""Who judges answers: a model on this machine or behind an endpoint, asked once for each text."""
