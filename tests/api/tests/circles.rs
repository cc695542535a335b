//! No circle of imports: no file of a crate names what stands in a file that leads back to it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as File, PathBuf};

use syn::visit::{Visit, visit_item_use, visit_path};
use syn::{ItemMod, ItemUse, UseTree, Visibility};

/// A module, or what stands in one, by the names that lead to it from the crate's root.
type Path = Vec<String>;

/// What the files of a crate name.
#[derive(Default)]
struct Imports {
    /// What each module names of its own crate.
    named: BTreeMap<Path, BTreeSet<Path>>,
    /// What stands elsewhere than where it is named, and where: it is imported there, or handed on.
    handed_on: BTreeMap<Path, Path>,
}

impl Imports {
    fn of(files: &BTreeMap<Path, String>) -> Self {
        let mut imports = Self::default();
        for (module, text) in files {
            let file = syn::parse_file(text).unwrap();
            let mut reader = Reader { module, modules: files, imports: &mut imports };
            reader.visit_file(&file);
        }
        imports
    }

    /// The module in which a path's item stands.
    fn home(&self, path: &[String]) -> Path {
        let mut path = path.to_vec();
        // As often as anything is handed on here, and no circle of it is one of files.
        for _ in 0..8 {
            let Some((length, home)) =
                (1..=path.len()).find_map(|length| Some((length, self.handed_on.get(&path[..length])?)))
            else {
                break;
            };
            path = [home, &path[length..]].concat();
        }
        while !self.named.contains_key(&path) && path.pop().is_some() {}
        path
    }

    /// The modules that lead back to themselves.
    fn circles(&self) -> BTreeSet<Path> {
        let arrows: BTreeMap<&Path, BTreeSet<Path>> = self
            .named
            .iter()
            .map(|(module, named)| {
                (module, named.iter().map(|path| self.home(path)).filter(|home| home != module).collect())
            })
            .collect();
        let leads_back = |module: &Path| {
            let mut seen = BTreeSet::new();
            let mut next = vec![module];
            while let Some(at) = next.pop() {
                next.extend(arrows[at].iter().filter(|home| seen.insert(*home)));
            }
            seen.contains(module)
        };
        arrows.keys().filter(|module| leads_back(module)).map(|module| (*module).clone()).collect()
    }
}

/// Reads one module.
struct Reader<'a> {
    module: &'a Path,
    modules: &'a BTreeMap<Path, String>,
    imports: &'a mut Imports,
}

impl Reader<'_> {
    /// A path as it is written here, from the crate's root; `None` if it is another crate's.
    fn rooted(&self, written: &[String]) -> Option<Path> {
        let mut at = self.module.clone();
        let mut rest = written;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = after;
        }
        let is_child = || {
            written
                .first()
                .is_some_and(|name| self.modules.contains_key(&[&at[..], std::slice::from_ref(name)].concat()))
        };
        (rest.len() < written.len() || is_child()).then(|| [&at[..], rest].concat())
    }

    fn import(&mut self, tree: &UseTree, before: &[String], is_handed_on: bool) {
        let (path, name) = match tree {
            UseTree::Path(path) => {
                return self.import(&path.tree, &[before, &[path.ident.to_string()]].concat(), is_handed_on);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, before, is_handed_on));
            }
            UseTree::Name(name) if name.ident == "self" => (before.to_vec(), before.last().cloned()),
            UseTree::Name(name) => ([before, &[name.ident.to_string()]].concat(), Some(name.ident.to_string())),
            UseTree::Rename(name) => ([before, &[name.ident.to_string()]].concat(), Some(name.rename.to_string())),
            UseTree::Glob(_) => (before.to_vec(), None),
        };
        let Some(path) = self.rooted(&path) else { return };
        if let Some(name) = name {
            self.imports.handed_on.insert([&self.module[..], &[name]].concat(), path.clone());
        }
        if !is_handed_on {
            self.imports.named.entry(self.module.clone()).or_default().insert(path);
        }
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_file(&mut self, file: &'a syn::File) {
        self.imports.named.entry(self.module.clone()).or_default();
        syn::visit::visit_file(self, file);
    }

    /// Tests beside the code may name what they like.
    fn visit_item_mod(&mut self, _: &'a ItemMod) {}

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        visit_item_use(self, item);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 && ["crate", "self", "super"].contains(&names[0].as_str()) {
            let named = self.rooted(&names);
            self.imports.named.entry(self.module.clone()).or_default().extend(named);
        }
        visit_path(self, path);
    }
}

/// The files of a crate.
fn files(source: &File) -> BTreeMap<Path, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path.strip_prefix(source).unwrap().with_extension("");
                let mut module: Path = module.iter().map(|name| name.to_string_lossy().into_owned()).collect();
                module.pop_if(|name| ["lib", "mod"].contains(&name.as_str()));
                files.insert(module, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// The folders of all crates' sources.
fn sources(folder: &File) -> Vec<PathBuf> {
    let folders = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules"));
    let source = folder.join("src");
    let own = folder.join("Cargo.toml").exists() && source.exists();
    own.then_some(source).into_iter().chain(folders.flat_map(|folder| sources(&folder))).collect()
}

#[test]
fn no_file_imports_what_leads_back_to_it() {
    let sources = sources(&File::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    assert!(sources.len() > 15, "{sources:?}");
    for source in sources {
        let circles = Imports::of(&files(&source)).circles();
        assert!(circles.is_empty(), "{}: {circles:?}", source.display());
    }
}

#[test]
fn a_circle_is_seen_whatever_hands_the_names_on() {
    let circles = |files: &[(&str, &str)]| {
        let path = |module: &str| module.split("::").skip(1).map(str::to_owned).collect::<Path>();
        let files = files.iter().map(|(module, text)| (path(module), (*text).to_owned())).collect();
        Imports::of(&files).circles().len()
    };
    let root = ("crate", "mod a; mod b; pub use a::A;");
    assert_eq!(circles(&[root, ("crate::a", "struct A;"), ("crate::b", "use crate::{A, a};")]), 0);
    assert_eq!(circles(&[root, ("crate::a", "struct A(crate::b::B);"), ("crate::b", "use crate::A; struct B;")]), 2);
    assert_eq!(circles(&[root, ("crate::a", "struct A(super::b::B);"), ("crate::b", "use super::*; struct B;")]), 0);
    let child = ("crate::a::c", "use super::A;");
    let b = ("crate::b", "");
    assert_eq!(circles(&[root, b, ("crate::a", "mod c; struct A;"), child]), 0);
    assert_eq!(circles(&[root, b, ("crate::a", "mod c; use c::C; struct A;"), child]), 2);
    assert_eq!(
        circles(&[root, b, ("crate::a", "mod c; struct A; #[cfg(test)] mod tests { use super::c::C; }"), child]),
        0
    );
}
