"""What a network is trained on: objectives, distillation, moving averages."""
