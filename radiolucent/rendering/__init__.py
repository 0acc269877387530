"""What `radiolucent drr` stands on: which volumes, their images, and the table of them."""
