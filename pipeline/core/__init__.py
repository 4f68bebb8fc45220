"""What every package uses: errors, console, storage. It imports nothing else of the project."""
