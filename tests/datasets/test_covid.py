"""The COVID-19 database becomes records: both releases, without masks, lung opacity and surplus normal scans."""

from layouts import write_covid, write_first_covid, write_scans

from lungkeras.datasets.registry import read_records


def test_covid_leaves_out_lung_opacity_masks_and_surplus_normals(tmp_path):
    records = read_records("covid", write_covid(tmp_path))
    assert records[["covid", "viral_pneumonia", "normal"]].sum().tolist() == [3, 2, 3]
    assert (records["patient"] == records["scan"]).all()
    assert [scans for _, scans in records.attrs["flow"]] == [11, 1, 2, 8]


def test_covid_reads_both_releases_side_by_side(tmp_path):
    write_covid(tmp_path)
    write_first_covid(tmp_path)
    records = read_records("covid", tmp_path)
    assert records[["covid", "viral_pneumonia", "normal"]].sum().tolist() == [4, 3, 4]
    assert read_records("covid", tmp_path / "COVID-19 Radiography Database")["covid"].sum() == 1


def test_covid_takes_scans_directly_in_a_class_folder(tmp_path):
    write_scans(tmp_path, "COVID/COVID-1.png", "Normal/Normal-1.png", "Viral Pneumonia/Viral Pneumonia-1.png")
    assert len(read_records("covid", tmp_path)) == 3


def test_the_seed_alone_decides_which_normals_are_drawn(tmp_path):
    write_covid(tmp_path, normals=40)
    first, again, other = (set(read_records("covid", tmp_path, seed=seed)["scan"]) for seed in (0, 0, 1))
    assert first == again != other
