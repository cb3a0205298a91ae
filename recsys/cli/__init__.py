"""`recsys STAGE …`: the one door to every stage, for a person, a test and a workflow rule alike."""
