"""What the service keeps of the versions that answered, and what it says about them."""
