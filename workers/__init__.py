"""The engine: takes jobs from accepted to ended. `queue` holds the verbs that others use; the rest is its insides."""
