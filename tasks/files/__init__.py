"""Files by reference: uploads that can be resumed, the records of files, and what their bytes are."""
