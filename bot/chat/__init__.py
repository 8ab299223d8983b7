"""What chat platforms share: texts, buttons, administration."""
