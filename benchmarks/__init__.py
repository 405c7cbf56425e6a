"""Measurements of Cloudburst beside what it is built on, always in the same run."""
