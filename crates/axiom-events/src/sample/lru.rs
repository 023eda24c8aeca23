//! Values in numbered places, and which of them was not used for longest, nearly: a value that was used since it was looked at
//! last gets a second chance. To use one costs no more than a mark on it.

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Lru<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
}

#[derive(Debug)]
struct Place<T> {
    value: Option<T>,
    is_used: bool,
    older: u32,
    newer: u32,
}

impl<T> Default for Lru<T> {
    fn default() -> Lru<T> {
        Lru {
            places: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl<T> Lru<T> {
    /// What a value takes beside what it points to.
    pub(super) const PLACE_BYTES: usize = size_of::<Place<T>>() + size_of::<u32>();

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts a value in as the newest, and says where.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let place = Place {
            value: Some(value),
            is_used: false,
            older: NONE,
            newer: NONE,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = place;
                at
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).expect("what is kept here has bounds far below")
            }
        };
        self.link(at);
        at
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.places.get(at as usize)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.value.as_mut()
    }

    /// All of them, by place.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| place.value.as_mut())
    }

    /// It was used.
    pub(super) fn touch(&mut self, at: u32) {
        if let Some(place) = self.places.get_mut(at as usize) {
            place.is_used = true;
        }
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.places.get_mut(at as usize)?.value.take()?;
        self.unlink(at);
        self.free.push(at);
        Some(value)
    }

    /// Where the one is that was not used for longest.
    pub(super) fn oldest(&mut self) -> Option<u32> {
        while let Some(place) = self.places.get_mut(self.oldest as usize) {
            let at = self.oldest;
            if !std::mem::take(&mut place.is_used) {
                return Some(at);
            }
            self.unlink(at);
            self.link(at);
        }
        None
    }

    fn link(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        (place.older, place.newer) = (self.newest, NONE);
        match self.newest {
            NONE => self.oldest = at,
            newest => self.places[newest as usize].newer = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Place { older, newer, .. } = self.places[at as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.places[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.places[newer as usize].older = older,
        }
    }
}
