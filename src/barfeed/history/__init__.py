"""What is stored, as a whole: filled, proven, mended, given away."""
