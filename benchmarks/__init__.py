"""The project's own speed: each module measures one thing, side by side with others, in one run."""
