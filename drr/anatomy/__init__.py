"""What is where in a CT: body, bone, structures, and whether it is a chest; and other bodies from one CT."""
