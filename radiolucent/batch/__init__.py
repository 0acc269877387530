"""What every batch command shares: record of finished items, executors, notes about inputs."""
