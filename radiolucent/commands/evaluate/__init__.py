"""`radiolucent evaluate`: options, and one file a protocol."""
