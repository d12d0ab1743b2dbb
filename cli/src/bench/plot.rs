//! `--plot`: a depth sweep as one SVG picture, latency on the left and throughput on the right.
//!
//! Written by hand: a picture of lines, ticks and words needs no library.

mod axis;
mod svg;

use std::path::Path;

use super::load::Load;
use super::plan::Plan;
use super::summary::Row;
use crate::error::{Context, Error, Result};
use axis::Axis;
use svg::{Anchor, Svg};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
/// Above this size people think in bytes a second.
const LARGE_BLOCK_BYTES: u64 = 64 << 10;

/// Refuses before anything is measured what could not be drawn afterwards.
///
/// # Errors
/// Fewer than two depths, sections that differ in something else or run together, a path that
/// cannot be a file.
pub(super) fn check(plan: &Plan, path: &Path) -> Result<()> {
    let refuse = |why: String| Err(Error::message(format!("--plot {}: {why}", path.display())));
    if let Some(step) = plan.steps.iter().find(|step| step.loads.len() > 1) {
        return refuse(format!(
            "sections {} run at the same time: separate them by stonewall",
            step.name()
        ));
    }
    let loads: Vec<&Load> = plan.steps.iter().flat_map(|step| &step.loads).collect();
    let (Some(first), true) = (loads.first(), loads.len() > 1) else {
        return refuse("needs sections of at least two depths, the job has one section".into());
    };
    let same = |load: &Load| {
        let of = |load: &Load| {
            (
                (load.rw_text(), load.identical),
                load.numjobs,
                load.sizes.clone(),
                load.files.clone(),
                (load.random_percent, load.norandommap, load.prefetch),
                (load.rate_iops, load.thinktime),
            )
        };
        of(load) == of(first)
    };
    if let Some(other) = loads.iter().find(|load| !same(load)) {
        return refuse(format!(
            "sections may differ in iodepth only, [{}] and [{}] read otherwise",
            first.name, other.name
        ));
    }
    let mut depths: Vec<u32> = loads.iter().map(|load| load.iodepth).collect();
    depths.sort_unstable();
    if let Some(twice) = depths.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("two sections have iodepth={}", twice[0]));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if path.is_dir() || dir.is_some_and(|dir| !dir.is_dir()) {
        return refuse("there is no directory to write this file in".into());
    }
    Ok(())
}

/// Writes the picture of the rows.
///
/// # Errors
/// What writing the file answers.
pub(super) fn write(rows: &[Row], title: &str, path: &Path) -> Result<()> {
    std::fs::write(path, draw(rows, title)).at("cannot write", path)
}

/// What one engine did over the depths.
struct Line {
    engine: &'static str,
    color: &'static str,
    rows: Vec<Point>,
}

struct Point {
    depth: f64,
    p50_us: f64,
    p99_us: f64,
    throughput: f64,
}

/// Colours that people of every colour vision can tell apart (Okabe and Ito, 2008).
fn color(engine: &str) -> &'static str {
    match engine {
        "ringfield" => "#d55e00",
        "fio" => "#0072b2",
        "fio-hugepages" => "#56b4e9",
        "fio-aa" => "#999999",
        "mmap" => "#009e73",
        _ => "#cc79a7",
    }
}

fn lines(rows: &[Row], in_bytes: bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let point = Point {
            depth: row.iodepth.into(),
            p50_us: row.lat_us.p50,
            p99_us: row.lat_us.p99,
            throughput: if in_bytes {
                row.bw_bytes / 1e6
            } else {
                row.iops
            },
        };
        match lines.iter_mut().find(|line| line.engine == row.engine) {
            Some(line) => line.rows.push(point),
            None => lines.push(Line {
                engine: row.engine,
                color: color(row.engine),
                rows: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.rows.sort_by(|a, b| a.depth.total_cmp(&b.depth));
    }
    // The engine is drawn last, over the others.
    lines.sort_by_key(|line| line.engine == "ringfield");
    lines
}

fn draw(rows: &[Row], title: &str) -> String {
    let in_bytes = rows.iter().any(|row| row.bs_max >= LARGE_BLOCK_BYTES);
    let threads = rows.first().map_or(1, |row| row.numjobs);
    let lines = lines(rows, in_bytes);
    let points = || lines.iter().flat_map(|line| &line.rows);
    let x = Axis::depths(points().map(|point| point.depth));
    let latency = Axis::latency_us(points().flat_map(|point| [point.p50_us, point.p99_us]));
    let throughput = Axis::from_zero(points().map(|point| point.throughput));

    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text((WIDTH / 2.0, 22.0), Anchor::Middle, 14.0, title);
    let x_title = match threads {
        1 => "reads in flight".to_owned(),
        threads => format!("reads in flight of each of {threads} threads"),
    };
    let left = Panel::new(72.0, &x, &latency);
    left.frame(
        &mut svg,
        "latency of a read: p50 solid, p99 dashed",
        &x_title,
    );
    for line in &lines {
        let points = |of: fn(&Point) -> f64| line.rows.iter().map(move |p| (p.depth, of(p)));
        left.line(&mut svg, points(|p| p.p99_us), line.color, true);
        left.line(&mut svg, points(|p| p.p50_us), line.color, false);
    }
    let right = Panel::new(530.0, &x, &throughput);
    let y_title = match in_bytes {
        true => "throughput in MB/s",
        false => "throughput in reads/s",
    };
    right.frame(&mut svg, y_title, &x_title);
    for line in &lines {
        let points = line.rows.iter().map(|p| (p.depth, p.throughput));
        right.line(&mut svg, points, line.color, false);
    }
    legend(&mut svg, &lines);
    svg.finish()
}

fn legend(svg: &mut Svg, lines: &[Line]) {
    let mut x = 72.0;
    // Drawn last, named first.
    for line in lines
        .iter()
        .rev()
        .take(1)
        .chain(lines.iter().rev().skip(1).rev())
    {
        let y = HEIGHT - 14.0;
        svg.line((x, y - 4.0), (x + 22.0, y - 4.0), line.color, 2.5, false);
        svg.dot((x + 11.0, y - 4.0), line.color);
        svg.text((x + 28.0, y), Anchor::Start, 13.0, line.engine);
        x += 62.0 + 7.2 * line.engine.len() as f64;
    }
}

/// One of the two diagrams.
struct Panel<'a> {
    left: f64,
    x: &'a Axis,
    y: &'a Axis,
}

impl<'a> Panel<'a> {
    const WIDTH: f64 = 352.0;
    const TOP: f64 = 60.0;
    const BOTTOM: f64 = 342.0;

    fn new(left: f64, x: &'a Axis, y: &'a Axis) -> Panel<'a> {
        Panel { left, x, y }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            self.left + Self::WIDTH * self.x.place(x),
            Self::BOTTOM - (Self::BOTTOM - Self::TOP) * self.y.place(y),
        )
    }

    fn frame(&self, svg: &mut Svg, y_title: &str, x_title: &str) {
        let right = self.left + Self::WIDTH;
        let center = f64::midpoint(self.left, right);
        svg.text((center, Self::TOP - 12.0), Anchor::Middle, 13.0, y_title);
        svg.text((center, Self::BOTTOM + 38.0), Anchor::Middle, 13.0, x_title);
        for tick in self.y.ticks() {
            let y = self.place((0.0, tick.at)).1;
            svg.line((self.left, y), (right, y), "#dddddd", 1.0, false);
            svg.text((self.left - 7.0, y + 4.0), Anchor::End, 12.0, &tick.text);
        }
        for tick in self.x.ticks() {
            let x = self.place((tick.at, 0.0)).0;
            svg.line(
                (x, Self::BOTTOM),
                (x, Self::BOTTOM + 5.0),
                "#333333",
                1.0,
                false,
            );
            svg.text((x, Self::BOTTOM + 19.0), Anchor::Middle, 12.0, &tick.text);
        }
        for (from, to) in [
            ((self.left, Self::TOP), (self.left, Self::BOTTOM)),
            ((self.left, Self::BOTTOM), (right, Self::BOTTOM)),
        ] {
            svg.line(from, to, "#333333", 1.0, false);
        }
    }

    fn line(
        &self,
        svg: &mut Svg,
        points: impl Iterator<Item = (f64, f64)>,
        color: &str,
        dashed: bool,
    ) {
        let points: Vec<_> = points.map(|point| self.place(point)).collect();
        svg.polyline(&points, color, dashed);
        for point in points {
            svg.dot(point, color);
        }
    }
}

#[cfg(test)]
mod tests;
