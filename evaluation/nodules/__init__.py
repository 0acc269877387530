"""What suppression leaves of nodules and other small findings of known size and place."""
