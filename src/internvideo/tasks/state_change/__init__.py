"""State change object detection: where in a key frame is the object that changes its state?"""
