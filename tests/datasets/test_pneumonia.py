"""The pneumonia collection becomes records: names of both releases, one patient per number, nested copies."""

import shutil

from flows import left_out
from layouts import write_pneumonia, write_scans

from lungkeras.datasets.registry import read_records


def test_pneumonia_pools_the_published_folders_and_groups_by_number(tmp_path):
    records = read_records("pneumonia", write_pneumonia(tmp_path)).set_index("scan")
    assert records[["bacterial_pneumonia", "viral_pneumonia", "normal"]].sum().tolist() == [3, 1, 3]
    assert records.loc["person14_bacteria_51.jpeg", "patient"] == records.loc["person14_virus_44.jpeg", "patient"]
    assert set(records["patient"]) == {"person1", "person14", "IM-0115", "NORMAL2-IM-1350"}


def test_pneumonia_reads_the_names_of_the_later_release(tmp_path):
    write_scans(
        tmp_path / "chest_xray",
        "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg",
        "test/PNEUMONIA/VIRUS-1008087-0002.jpeg",
        "train/NORMAL/NORMAL-1003233-0001.jpeg",
    )
    records = read_records("pneumonia", tmp_path).set_index("scan")
    assert records["patient"].to_dict() == {
        "BACTERIA-1008087-0001.jpeg": "1008087",
        "VIRUS-1008087-0002.jpeg": "1008087",
        "NORMAL-1003233-0001.jpeg": "1003233",
    }
    assert records[["bacterial_pneumonia", "viral_pneumonia", "normal"]].sum().tolist() == [1, 1, 1]


def test_pneumonia_reads_a_nested_copy_once(tmp_path):
    write_pneumonia(tmp_path)
    shutil.copytree(tmp_path / "chest_xray", tmp_path / "copy" / "chest_xray")
    shutil.move(tmp_path / "copy" / "chest_xray", tmp_path / "chest_xray" / "chest_xray")
    assert len(read_records("pneumonia", tmp_path)) == 7
    assert len(read_records("pneumonia", tmp_path / "chest_xray" / "chest_xray")) == 7


def test_pneumonia_scans_that_share_a_name_keep_both_rows_and_one_patient(tmp_path):
    write_pneumonia(tmp_path)
    write_scans(tmp_path / "chest_xray", "test/PNEUMONIA/person1_bacteria_1.jpeg")
    records = read_records("pneumonia", tmp_path)
    clash = records[records["path"].str.endswith("person1_bacteria_1.jpeg")]
    assert list(clash["scan"]) == list(clash["path"])
    assert set(clash["patient"]) == {"person1"}


def test_every_real_pneumonia_name_is_understood(real_scans):
    records = read_records("pneumonia", real_scans / "kermany")
    assert records.attrs["flow"][1] == ["left out: file name gives no patient and class", 0]
    assert records["patient"].str.fullmatch(r"person\d+|(NORMAL2-)?IM-\d+").all()
    person14 = records[records["patient"] == "person14"]
    assert person14[["bacterial_pneumonia", "viral_pneumonia"]].sum().min() >= 1


def test_pneumonia_of_an_unknown_cause_is_named_and_counted(tmp_path, capsys):
    write_scans(
        write_pneumonia(tmp_path) / "chest_xray",
        *(f"train/PNEUMONIA/person{number}_fungus_1.jpeg" for number in (20, 21)),
        "test/PNEUMONIA/PARASITE-1001-0001.jpeg",
    )
    records = read_records("pneumonia", tmp_path)
    assert left_out(records) == {"unknown cause of pneumonia (fungus 2, PARASITE 1)": 3}
    assert "(fungus 2, PARASITE 1)" in capsys.readouterr().err
    assert len(records) == 7
