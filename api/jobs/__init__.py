"""The job resources: submit one or many, look at one or list them, follow their events, cancel and retry."""
