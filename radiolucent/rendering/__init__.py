"""What `radiolucent drr` stands on: its inputs."""
