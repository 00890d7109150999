"""Speed and quality, measured; results are tables with commit and machine."""
