"""The forms in which `rfcn infer` can write what was found. Imports nothing, for --help."""

FORMATS = {
    "annotated": "the pictures with boxes, as JPEG; of videos every frame",
    "video": "the videos with boxes",
    "json": "detections.json, a list of records",
    "jsonl": "detections.jsonl, a record a line",
    "csv": "detections.csv, a row a detection",
    "coco": "a data set in COCO's layout, with scores, and results.json",
    "voc": "a data set in VOC's layout",
    "yolo": "a data set in YOLO's layout",
    "crops": "what each box holds, a folder a class",
}
"""What can be written, and what that is."""
BY_DEFAULT = ("annotated", "video", "json")
"""But no annotated pictures of the frames of videos."""
FOLDERS = ("coco", "voc", "yolo", "crops")
"""Those that fill a folder of their own."""
