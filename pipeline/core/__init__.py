"""What every part uses: errors, console, storage. Imports nothing else of the project."""
