"""Cloudburst, as a system to be measured."""
