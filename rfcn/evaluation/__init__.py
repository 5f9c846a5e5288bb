"""How good the detections are: average precision of PASCAL VOC, reports, diagnosis. Floor 3."""
