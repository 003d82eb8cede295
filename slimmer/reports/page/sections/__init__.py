"""The sections of the page: one file and one template each."""
