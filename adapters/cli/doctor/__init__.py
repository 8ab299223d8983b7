"""`easel doctor`: checks of the installation."""
