"""Learned scores: hashed linear models over mixed tokens; training, measuring, applying."""
