"""Replies to prompts, and pictures as ids."""
