"""What a guest is told about itself, in the forms guests ask for: OpenStack's, Amazon EC2's, and as HTTP.

The contents are the same wherever they are read: the metadata service answers with them, and the config
drive holds them as files.
"""
