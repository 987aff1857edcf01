"""How the champion does on what came after its training."""
